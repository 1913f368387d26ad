################################################################################
#
# ashlar-cryptsetup
#
################################################################################

# Version, source and licence are those of the release's package.
ASHLAR_CRYPTSETUP_VERSION = $(CRYPTSETUP_VERSION)
ASHLAR_CRYPTSETUP_SOURCE = $(CRYPTSETUP_SOURCE)
ASHLAR_CRYPTSETUP_SITE = $(CRYPTSETUP_SITE)
ASHLAR_CRYPTSETUP_DL_SUBDIR = cryptsetup
ASHLAR_CRYPTSETUP_LICENSE = $(CRYPTSETUP_LICENSE)
ASHLAR_CRYPTSETUP_LICENSE_FILES = $(CRYPTSETUP_LICENSE_FILES)
ASHLAR_CRYPTSETUP_CPE_ID_VENDOR = cryptsetup_project
ASHLAR_CRYPTSETUP_CPE_ID_PRODUCT = cryptsetup
ASHLAR_CRYPTSETUP_DEPENDENCIES = \
	host-pkgconf \
	json-c \
	libargon2 \
	lvm2 \
	openssl \
	popt \
	util-linux \
	$(TARGET_NLS_DEPENDENCIES)

ASHLAR_CRYPTSETUP_CONF_ENV = LDFLAGS="$(TARGET_LDFLAGS) $(TARGET_NLS_LIBS)"
ASHLAR_CRYPTSETUP_CONF_OPTS = \
	--disable-asciidoc \
	--disable-ssh-token \
	--enable-blkid \
	--enable-libargon2 \
	--with-crypto_backend=openssl \
	--with-tmpfilesdir=/usr/lib/tmpfiles.d

$(eval $(autotools-package))

# The release's hashes and patches hold for it.
ASHLAR_CRYPTSETUP_HASH_FILES = $(CRYPTSETUP_HASH_FILES)
ASHLAR_CRYPTSETUP_PKGDIR = $(CRYPTSETUP_PKGDIR)
