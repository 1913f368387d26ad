################################################################################
#
# Ashlar: our packages, and what is amended in packages of the release
#
################################################################################

include $(sort $(wildcard $(BR2_EXTERNAL_ASHLAR_PATH)/package/*/*.mk))

# The release's packages are read before this file. Their options are looked at
# when they are built, so adding to those is enough; their prerequisites were
# looked at already, so each new dependency is said twice: in the package's own
# list, which show-info and legal-info read, and as a prerequisite.
#
# $(1): upper-case name of the package, $(2): what it needs too
define ashlar-needs
$(1)_DEPENDENCIES += $(2)
$$($(1)_TARGET_CONFIGURE): | $(2)
endef

################################################################################
# lvm2
################################################################################

ifeq ($(BR2_PACKAGE_ASHLAR_LVM2),y)
LVM2_CONF_OPTS += --enable-udev_sync
$(eval $(call ashlar-needs,LVM2,udev))

# Its configure looks for the checkers of metadata on the build machine and asks
# them for their version. Told that there are none, it takes the places below
# /usr/sbin and a recent version, on whatever machine.
LVM2_CONF_ENV += \
	$(foreach tool,\
		THIN_CHECK THIN_DUMP THIN_REPAIR THIN_RESTORE \
		CACHE_CHECK CACHE_DUMP CACHE_REPAIR CACHE_RESTORE \
		VDO_FORMAT,\
		ac_cv_path_$(tool)_CMD= ac_cv_path_ac_pt_$(tool)_CMD=)
endif

################################################################################
# qemu
################################################################################

ifeq ($(BR2_PACKAGE_ASHLAR_QEMU),y)
# The last mention of an option counts.
QEMU_OPTS += \
	--enable-cap-ng \
	--enable-gnutls \
	--enable-linux-aio \
	--enable-linux-io-uring \
	--enable-png \
	--enable-vnc \
	--enable-vnc-jpeg \
	--disable-vnc-sasl
$(eval $(call ashlar-needs,QEMU,gnutls jpeg libaio libcap-ng libpng liburing))
endif

################################################################################
# linux
################################################################################

# The kernel makes a key for its modules at each build and forgets it. Who wants
# to compare two builds bit by bit gives both the same one: a PEM file with an
# RSA key and its certificate. It lies in the build folder under a name that
# does not depend on where it came from.
ifneq ($(ASHLAR_MODULE_KEY),)
define ASHLAR_MODULE_KEY_COPY
	$(INSTALL) -m 0600 $(ASHLAR_MODULE_KEY) $(@D)/certs/ashlar_key.pem
endef
LINUX_POST_PATCH_HOOKS += ASHLAR_MODULE_KEY_COPY
define ASHLAR_MODULE_KEY_FIXUP
	$(call KCONFIG_SET_OPT,CONFIG_MODULE_SIG_KEY,"certs/ashlar_key.pem")
endef
PACKAGES_LINUX_CONFIG_FIXUPS += $(ASHLAR_MODULE_KEY_FIXUP)$(sep)
endif
