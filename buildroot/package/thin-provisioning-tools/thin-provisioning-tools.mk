################################################################################
#
# thin-provisioning-tools
#
################################################################################

# v1.3.3
THIN_PROVISIONING_TOOLS_VERSION = b61de422f87f06ca7526d0b378de4412ad2c760c
THIN_PROVISIONING_TOOLS_SITE = https://github.com/jthornber/thin-provisioning-tools
THIN_PROVISIONING_TOOLS_SITE_METHOD = git
THIN_PROVISIONING_TOOLS_LICENSE = GPL-3.0
THIN_PROVISIONING_TOOLS_LICENSE_FILES = COPYING
THIN_PROVISIONING_TOOLS_DEPENDENCIES = host-clang host-pkgconf lvm2 udev

# Its binding of libdevmapper is made from the C header when it is built.
THIN_PROVISIONING_TOOLS_CARGO_ENV = \
	BINDGEN_EXTRA_CLANG_ARGS="--sysroot=$(STAGING_DIR)" \
	LIBCLANG_PATH=$(HOST_DIR)/lib

# One program, which does what it is called.
THIN_PROVISIONING_TOOLS_NAMES = \
	cache_check \
	cache_dump \
	cache_metadata_size \
	cache_repair \
	cache_restore \
	cache_writeback \
	thin_check \
	thin_delta \
	thin_dump \
	thin_ls \
	thin_metadata_size \
	thin_repair \
	thin_restore \
	thin_rmap \
	thin_trim

define THIN_PROVISIONING_TOOLS_LINKS
	$(foreach name,$(THIN_PROVISIONING_TOOLS_NAMES),
		ln -sf ../bin/pdata_tools $(TARGET_DIR)/usr/sbin/$(name)
	)
endef
THIN_PROVISIONING_TOOLS_POST_INSTALL_TARGET_HOOKS += THIN_PROVISIONING_TOOLS_LINKS

$(eval $(cargo-package))
